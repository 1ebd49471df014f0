"""Runtimes: where clients live, and who decides that a reply is late. `hansa.loops.Runtime` says
what one must do.
"""
