-- item_latents: how often each latent fires where an item comes first, and its decoder rank.
-- grain:  run_id, item_id, latent_id
-- reads:  raw.activations, raw.decoder_items
-- yields:
--   run_id        VARCHAR the SAE run
--   item_id       INTEGER 1-based
--   latent_id     INTEGER 0-based
--   n_cases       BIGINT  cases with the item as first recommendation on which the latent fires
--   n_users       BIGINT  users of these cases
--   max_value     FLOAT   highest activation among them; NULL without any
--   decoder_rank  INTEGER 1 (best) .. 10 among the items the decoder row points to, else NULL
--   decoder_score FLOAT   what one unit of the latent adds to the item's score; NULL beyond the ten
-- source: kept as Parquet by recsae sae encode; of a run without it counted when asked
with users as (
    -- users are counted in a second step, since a distinct count would hold all of them
    select
        run_id,
        item_id,
        latent_id,
        user_id,
        count(*) as n_cases,
        max(value) as max_value
    from raw.activations
    group by run_id, item_id, latent_id, user_id
),

found as (
    select
        run_id,
        item_id,
        latent_id,
        n_cases,
        1 as n_users,
        max_value,
        null::integer as decoder_rank,
        null::float as decoder_score
    from users
    union all
    select
        run_id,
        item_id,
        latent_id,
        0 as n_cases,
        0 as n_users,
        null::float as max_value,
        rank as decoder_rank,
        score as decoder_score
    from raw.decoder_items
)

select
    run_id,
    item_id,
    latent_id,
    sum(n_cases)::bigint as n_cases,
    sum(n_users)::bigint as n_users,
    max(max_value) as max_value,
    max(decoder_rank) as decoder_rank,
    max(decoder_score) as decoder_score
from found
group by run_id, item_id, latent_id
