-- user_sides: which users name concepts, which verify them, and which no SAE may train on.
-- grain:  run_id, user_id
-- reads:  raw.runs, raw.cases
-- params:
--   $run_id          VARCHAR the SAE run
--   $seed            BIGINT  seed of the draw
--   $construct_share DOUBLE  share of users on the construct side, 0-1
--   $heldout_share   DOUBLE  share of users kept from SAE training, all on the verify side, 0-1
-- yields:
--   run_id     VARCHAR the SAE run
--   user_id    INTEGER 1-based
--   side       VARCHAR construct or verify
--   is_heldout BOOLEAN true: no vector of this user trains the SAE
-- source: docs/decisions.md; the paper has no user split, so its describing users also verify
with runs as (
    select * from raw.runs where run_id = $run_id
),

users as (
    select distinct
        runs.run_id,
        cases.user_id
    from raw.cases as cases
    inner join runs on cases.run_id = runs.parent_run_id
),

drawn as (
    select
        run_id,
        user_id,
        md5_number_lower(concat_ws('|', $seed, 'user', user_id))
        / 18446744073709551616.0 as draw
    from users
)

select
    run_id,
    user_id,
    if(draw < $construct_share, 'construct', 'verify') as side,
    draw >= greatest($construct_share, 1 - $heldout_share) as is_heldout
from drawn
