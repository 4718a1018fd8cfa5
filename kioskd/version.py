"""The version of this software, as it tells its peers and its users."""

VERSION = "0.1.0"
