"""Spatial light modulator: from where traps shall be to the phase that makes them, and what may be shown when."""
