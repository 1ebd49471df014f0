"""Runtimes: where clients live, and who decides that a reply is late.

`hansa.loops.Runtime` says what one must do, `hansa.testing.check_runtime` whether it does.

    InProcess      all in this process, on a virtual clock
    Processes      on all cores of this machine
    RayCluster     on many machines of one owner
"""
