"""The sparse autoencoder: model, training, and writing its activations."""
