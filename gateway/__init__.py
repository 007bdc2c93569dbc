"""The control plane: faces the network, holds no data."""
