"""Physics of a bead in a trap of light: what it does (`plant`), and what its motion says of the trap (`stiffness`).

Units throughout: micrometres, seconds, piconewtons; stiffness in pN/µm, drag in pN s/µm, kT in pN µm.
"""
