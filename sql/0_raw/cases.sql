-- cases: the moments at which a recommender has a vector for a user.
-- grain:  run_id, case_id
-- reads:  none
-- yields:
--   run_id   VARCHAR recommender run
--   case_id  BIGINT  0-based
--   user_id  INTEGER 1-based
--   position INTEGER length of the history that the case has seen
--   split    VARCHAR train, dev or test: split of the interaction that follows
-- source: Parquet under cases/; this empty form is replaced once a run's training is done
create view if not exists raw.cases as
select
    null::varchar as run_id,
    null::bigint as case_id,
    null::integer as user_id,
    null::integer as position,
    null::varchar as split
where false
