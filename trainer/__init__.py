"""The model: features, preprocessing, network, training, and the signatures it is served with."""
