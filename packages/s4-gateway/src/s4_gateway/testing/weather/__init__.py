"""Hard weather between a gateway and its store: `faults.TABLE` names what can go wrong, `schedule` mixes it with what clients do,
`oracle` knows which outcomes are right, `drive` plays a schedule and `shrink` makes a failing one small.

Nothing here knows how bytes travel: a test brings a network that asks a `Sky` what happens to each request.
"""
