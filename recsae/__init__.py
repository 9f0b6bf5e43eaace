"""recsae opens up recommender models with sparse autoencoders.

Stages, in order, each meeting the next only in the warehouse:
``data prepare -> train -> sae train -> sae encode -> concepts -> confidence -> report``.
Importing this package loads nothing heavy.
"""

__version__ = "0.1.0"
