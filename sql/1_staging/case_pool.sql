-- case_pool: random cases of each side, shared by all latents as their inactive cases.
-- grain:  run_id, case_id
-- reads:  staging.cases
-- params:
--   $run_id     VARCHAR the SAE run
--   $seed       BIGINT  seed of the draw
--   $pool_cases BIGINT  cases drawn on each side
-- yields:
--   run_id  VARCHAR the SAE run
--   case_id BIGINT  0-based
--   user_id INTEGER 1-based
--   side    VARCHAR construct or verify
with cases as (
    select * from staging.cases where run_id = $run_id
),

drawn as (
    select
        *,
        row_number() over (
            partition by side
            order by md5_number_lower(concat_ws('|', $seed, 'pool', case_id)), case_id
        ) as place
    from cases
)

select
    run_id,
    case_id,
    user_id,
    side
from drawn
where place <= $pool_cases
