-- item_latents: which latents stand behind an item, by the cases that recommend it and by decoder.
-- grain:  run_id, item_id, latent_id
-- reads:  raw.runs, raw.items, summaries.item_latents, main.latents
-- yields:
--   run_id        VARCHAR the SAE run
--   item_id       INTEGER 1-based
--   latent_id     INTEGER 0-based
--   item          VARCHAR id of the item in the source files
--   title         VARCHAR title, or the id where there is none
--   popularity    INTEGER train interactions of the item
--   label         VARCHAR label of the latent; NULL without a concept
--   concept       VARCHAR its leading tag, kind:value
--   status        VARCHAR interpretable, not shown, too rare or dead; NULL when not verified
--   confidence    DOUBLE  balanced accuracy on held-out cases, 0-1
--   n_cases       BIGINT  cases with the item as first recommendation on which the latent fires
--   n_users       BIGINT  users of these cases
--   max_value     FLOAT   highest activation among them; NULL without any
--   decoder_rank  INTEGER 1 (best) .. 10 among the items the decoder row points to, else NULL
--   decoder_score FLOAT   what one unit of the latent adds to the item's score; NULL beyond the ten
select
    counted.run_id,
    counted.item_id,
    counted.latent_id,
    items.source_item_id as item,
    coalesce(items.title, items.source_item_id) as title,
    items.popularity,
    latents.label,
    latents.concept,
    latents.status,
    latents.confidence,
    counted.n_cases,
    counted.n_users,
    counted.max_value,
    counted.decoder_rank,
    counted.decoder_score
from summaries.item_latents as counted
inner join raw.runs as runs on counted.run_id = runs.run_id
left join raw.items as items
    on runs.dataset = items.dataset and counted.item_id = items.item_id
left join main.latents as latents
    on counted.run_id = latents.run_id and counted.latent_id = latents.latent_id
