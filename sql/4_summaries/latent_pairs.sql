-- latent_pairs: on how many cases two latents of a run fire together; with itself: on how many one.
-- grain:  run_id, latent_id, neighbour_id
-- reads:  raw.activations
-- yields:
--   run_id       VARCHAR the SAE run
--   latent_id    INTEGER 0-based
--   neighbour_id INTEGER the same latent or a later one
--   n_both       BIGINT  cases on which both fire
-- source: kept as Parquet by recsae sae encode; of a run without it counted when asked, in about
--         (cases x k x k / 2) steps
select
    ours.run_id,
    ours.latent_id,
    others.latent_id as neighbour_id,
    count(*) as n_both
from raw.activations as ours
inner join raw.activations as others
    on ours.run_id = others.run_id and ours.case_id = others.case_id
where ours.latent_id <= others.latent_id
group by ours.run_id, ours.latent_id, others.latent_id
