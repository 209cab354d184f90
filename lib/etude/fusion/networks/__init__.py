"""Build networks that predict a track's factors from its sound and metadata."""

from etude.fusion.networks.network import FactorNetwork, TrainingLoss, build_network

__all__ = ["FactorNetwork", "TrainingLoss", "build_network"]
