-- activations: every latent that fired, with the case and its first recommendation.
-- grain:  run_id, latent_id, case_id
-- reads:  none
-- yields:
--   run_id    VARCHAR sae run
--   latent_id INTEGER 0-based
--   case_id   BIGINT  0-based, as in raw.cases of the parent run
--   user_id   INTEGER 1-based
--   item_id   INTEGER first recommendation of the case
--   value     FLOAT   above 0
-- source: Parquet under activations/; this empty form is replaced once encoding is done
create view if not exists raw.activations as
select
    null::varchar as run_id,
    null::integer as latent_id,
    null::bigint as case_id,
    null::integer as user_id,
    null::integer as item_id,
    null::float as value
where false
