-- latent_neighbours: latents of a run that fire on the same cases, and how alike each pair is.
-- grain:  run_id, latent_id, neighbour_id
-- reads:  raw.runs, raw.cases, raw.decoder_items, summaries.latent_pairs, main.latents
-- yields:
--   run_id            VARCHAR the SAE run
--   latent_id         INTEGER 0-based
--   neighbour_id      INTEGER another latent that fires on at least one of its cases
--   label             VARCHAR label of the latent; NULL without a concept
--   neighbour_label   VARCHAR label of the other; NULL without a concept
--   neighbour_concept VARCHAR leading tag of the other, kind:value
--   neighbour_status  VARCHAR interpretable, not shown, too rare or dead; NULL when not verified
--   n_fired           BIGINT  cases on which the latent fires
--   n_neighbour       BIGINT  cases on which the other fires
--   n_both            BIGINT  cases on which both fire
--   jaccard           DOUBLE  n_both by cases on which at least one fires, 0-1
--   lift              DOUBLE  n_both by what two independent latents would share; 1 = chance
--   n_decoder_items   BIGINT  items that are among the ten of both decoder rows, 0-10
with fired as (
    select
        run_id,
        latent_id,
        n_both as n
    from summaries.latent_pairs
    where latent_id = neighbour_id
),

sizes as (
    select
        run_id,
        count(*) as n
    from raw.cases
    group by run_id
),

pairs as (
    select
        run_id,
        latent_id,
        neighbour_id,
        n_both as n
    from summaries.latent_pairs
    where latent_id <> neighbour_id
    union all
    select
        run_id,
        neighbour_id as latent_id,
        latent_id as neighbour_id,
        n_both as n
    from summaries.latent_pairs
    where latent_id <> neighbour_id
),

decoder as (
    select
        ours.run_id,
        ours.latent_id,
        others.latent_id as neighbour_id,
        count(*) as n
    from raw.decoder_items as ours
    inner join raw.decoder_items as others
        on ours.run_id = others.run_id and ours.item_id = others.item_id
    group by ours.run_id, ours.latent_id, others.latent_id
)

select
    pairs.run_id,
    pairs.latent_id,
    pairs.neighbour_id,
    latents.label,
    neighbours.label as neighbour_label,
    neighbours.concept as neighbour_concept,
    neighbours.status as neighbour_status,
    ours.n as n_fired,
    others.n as n_neighbour,
    pairs.n as n_both,
    pairs.n / (ours.n + others.n - pairs.n) as jaccard,
    pairs.n::double * sizes.n / (ours.n::double * others.n) as lift,
    coalesce(decoder.n, 0) as n_decoder_items
from pairs
inner join raw.runs as runs on pairs.run_id = runs.run_id
inner join fired as ours on pairs.run_id = ours.run_id and pairs.latent_id = ours.latent_id
inner join fired as others on pairs.run_id = others.run_id and pairs.neighbour_id = others.latent_id
left join sizes on runs.parent_run_id = sizes.run_id
left join decoder
    on
        pairs.run_id = decoder.run_id
        and pairs.latent_id = decoder.latent_id
        and pairs.neighbour_id = decoder.neighbour_id
left join main.latents as latents
    on pairs.run_id = latents.run_id and pairs.latent_id = latents.latent_id
left join main.latents as neighbours
    on pairs.run_id = neighbours.run_id and pairs.neighbour_id = neighbours.latent_id
