"""The live page of a run store: `hansa ui`. It reads, and changes nothing.

guard      who is answered
reading    the store, as it is now
views      what a page shows
server     routes, and events while runs go on

    /                   all runs              /events
    /runs/RUN           one, while it goes on /runs/RUN/events   .csv   /report
    /compare?run=…      some beside each other

A page is whole when it comes; a script of its own hears of changes (server-sent events), gets the
page again, and puts what is new into the one that is open. It works without the script too.
"""

from __future__ import annotations
