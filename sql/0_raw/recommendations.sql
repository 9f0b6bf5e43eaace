-- recommendations: the ten best items of every case, without items seen before.
-- grain:  run_id, case_id, rank
-- reads:  none
-- yields:
--   run_id  VARCHAR recommender run
--   case_id BIGINT  0-based, as in raw.cases
--   rank    INTEGER 1 (best) .. 10
--   item_id INTEGER 1-based
--   score   FLOAT   case vector . item vector
-- source: Parquet under recommendations/; this empty form is replaced once training is done
create view if not exists raw.recommendations as
select
    null::varchar as run_id,
    null::bigint as case_id,
    null::integer as rank,
    null::integer as item_id,
    null::float as score
where false
