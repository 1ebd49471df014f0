"""Approval: no code runs at a site before its owner has approved it, byte by byte.

    names       what files of a bundle may be called
    bundle      an app file, and what of its folder it names, as one file
    packing     which files those are
    approvals   what was approved here, by whom, and who has reviewed it
    showing     what is in a bundle, and what is other than before
    policies    what the owner allows, as a TOML file

Nothing in this room imports what it packs, shows or keeps.
"""
