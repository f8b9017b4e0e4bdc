//! ARP and neighbour discovery frames: announcing and probing addresses.
