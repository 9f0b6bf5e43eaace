-- cases: the cases of an SAE run that are looked at, with the side of their user.
-- grain:  run_id, case_id
-- reads:  raw.runs, raw.cases, staging.user_sides
-- params:
--   $run_id    VARCHAR the SAE run
--   $seed      BIGINT  seed of the draw
--   $max_cases BIGINT  about how many cases are drawn where there are more; all where there are not
-- yields:
--   run_id   VARCHAR the SAE run
--   case_id  BIGINT  0-based row of the recommender's vectors
--   user_id  INTEGER 1-based
--   position INTEGER items of the user's sequence that the case has seen
--   split    VARCHAR split of the interaction that follows: train, dev or test
--   side     VARCHAR construct or verify
-- source: docs/decisions.md; concepts need thousands of cases of a latent, not millions
with runs as (
    select * from raw.runs where run_id = $run_id
),

sides as (
    select * from staging.user_sides where run_id = $run_id
),

cases as (
    select
        runs.run_id,
        cases.case_id,
        cases.user_id,
        cases.position,
        cases.split
    from raw.cases as cases
    inner join runs on cases.run_id = runs.parent_run_id
),

size as (
    select count(*) as n_cases from cases
)

select
    cases.run_id,
    cases.case_id,
    cases.user_id,
    cases.position,
    cases.split,
    sides.side
from cases
inner join sides on cases.user_id = sides.user_id
cross join size
where
    size.n_cases <= $max_cases
    or md5_number_lower(concat_ws('|', $seed, 'case', cases.case_id))
    / 18446744073709551616.0 * size.n_cases < $max_cases
