-- item_latents: which latents stand behind an item, by the cases that recommend it and by decoder.
-- grain:  run_id, item_id, latent_id
-- reads:  raw.runs, raw.items, concepts.labels, confidence.scores, summaries.item_latents
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
-- source: each joined relation is far smaller than the counts, and has to look so to the optimiser,
--         which else holds these: so no join with main.latents, and none with the runs alone
with items as (
    select
        runs.run_id,
        items.item_id,
        items.source_item_id,
        items.title,
        items.popularity
    from raw.runs as runs
    inner join raw.items as items on runs.dataset = items.dataset
)

select
    counted.run_id,
    counted.item_id,
    counted.latent_id,
    items.source_item_id as item,
    coalesce(items.title, items.source_item_id) as title,
    items.popularity,
    labels.label,
    labels.leading_tag as concept,
    scores.status,
    scores.confidence,
    counted.n_cases,
    counted.n_users,
    counted.max_value,
    counted.decoder_rank,
    counted.decoder_score
from summaries.item_latents as counted
left join items on counted.run_id = items.run_id and counted.item_id = items.item_id
left join concepts.labels as labels
    on counted.run_id = labels.run_id and counted.latent_id = labels.latent_id
left join confidence.scores as scores
    on counted.run_id = scores.run_id and counted.latent_id = scores.latent_id
where counted.run_id in (select run_id from raw.runs)
