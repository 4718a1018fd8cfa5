"""From where on something is not well any more: what the self-test, the status and its words agree on."""

DAY_S = 86400.0

SOON_DAYS = 30
"""A certificate with less left is to be renewed."""

WRONG_BY_S = 60.0
"""A clock that is further from the server's is wrong."""

LITTLE_BYTES = 50 << 20
"""A disk with less left is full before anybody looks again."""

SET_THE_CLOCK = "Set the clock: timedatectl set-ntp true. A wrong clock makes certificates look wrong."
