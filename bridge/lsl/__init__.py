"""Lab Streaming Layer: results go out as streams, markers and numbers come in.

The number of particles varies, that of channels does not: `groups` keeps each particle in channels of its own.
"""
