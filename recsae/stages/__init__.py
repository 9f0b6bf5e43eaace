"""One module per stage, in the order train, sae_train, encode, concepts, confidence.

``import_run`` stands in for the two that train, ``import_vectors`` for the first of them. Stages
meet only in the warehouse: each reads relations and files of earlier ones and publishes its own;
none calls another. ``pipeline`` and ``controls`` alone chain them.
"""

from recsae.stages.concepts import concepts
from recsae.stages.confidence import confidence
from recsae.stages.controls import controls
from recsae.stages.encode import encode
from recsae.stages.evaluate import evaluate
from recsae.stages.import_run import ImportConfig, import_rechorus
from recsae.stages.import_vectors import VectorsConfig, import_vectors, prepare_interactions
from recsae.stages.pipeline import PipelineConfig, run
from recsae.stages.sae_train import train_sae
from recsae.stages.train import train

__all__ = [
    "ImportConfig",
    "PipelineConfig",
    "VectorsConfig",
    "concepts",
    "confidence",
    "controls",
    "encode",
    "evaluate",
    "import_rechorus",
    "import_vectors",
    "prepare_interactions",
    "run",
    "train",
    "train_sae",
]
