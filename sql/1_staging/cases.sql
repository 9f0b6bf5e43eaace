-- cases: the cases of an SAE run with the side of their user.
-- grain:  run_id, case_id
-- reads:  raw.runs, raw.cases, staging.user_sides
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id   VARCHAR the SAE run
--   case_id  BIGINT  0-based row of the recommender's vectors
--   user_id  INTEGER 1-based
--   position INTEGER items of the user's sequence that the case has seen
--   split    VARCHAR split of the interaction that follows: train, dev or test
--   side     VARCHAR construct or verify
with runs as (
    select * from raw.runs where run_id = $run_id
),

sides as (
    select * from staging.user_sides where run_id = $run_id
)

select
    runs.run_id,
    cases.case_id,
    cases.user_id,
    cases.position,
    cases.split,
    sides.side
from raw.cases as cases
inner join runs on cases.run_id = runs.parent_run_id
inner join sides on cases.user_id = sides.user_id
