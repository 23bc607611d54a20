"""Local state of one gateway: rebuildable, never the truth about an object."""
