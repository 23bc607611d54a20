"""Mixed load for a long time, and a look at what a gateway accumulates meanwhile."""
