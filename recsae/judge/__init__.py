"""The language-model judge of the paper's protocol: prompts, a client, and replies kept on disk.

Nothing here knows the warehouse or a terminal; ``recsae.stages`` brings cases and stores results.
"""
