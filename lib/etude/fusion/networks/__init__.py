"""Networks that predict a track's factors from what is known of it."""

from etude.fusion.networks.network import FactorNetwork, build_network

__all__ = ["FactorNetwork", "build_network"]
