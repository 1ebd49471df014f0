"""Peers: gossip among real nodes, each a process at its own place, and nobody in the middle.

    mesh       who hears whom among the names of a roster, and what of that can be a run of nodes
    mail       what a node has heard, said, and still owes, on the disk
    part       in which runs it may take part, and how its owner ends that
    agent      the node's party: it trains in a worker, by the functions of the loop
    talk       the messages between two nodes
    gate       accepts connections, a bounded number of them without a certificate
    port       where neighbours dial in, and what they say is heard
    once       what others cause in the log, in few lines
    link       the way to one who hears this node
    node       the rounds

One round of node i, with whom it hears on the left and who hears it on the right:

    j ── words of round t − 1 ──▶ mail ──▶ mix, train, say ──▶ mail ── words of round t ──▶ k

Each has a kit of the role `peer`. TLS goes both ways between neighbours, and both look on the
roster; a node dials whom its roster names, and nobody else.

What is on the disk, and from when on:

    mail      the run                                          before it counts
    runs      the run, and what it may give away               before its first round
    mail      the words of a neighbour                         before they are held
    mail      what the node remembers, says, and owes whom     in one transaction, before it is said
    mail      nothing is owed any more                         when the neighbour holds it
"""
