"""HTTP on both ends: requests become `Call`s, results become answers. Nothing here decides who may do what, or touches a backend."""
