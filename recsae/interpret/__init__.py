"""From activations to concepts and their confidence: which SQL files run, in which order."""
