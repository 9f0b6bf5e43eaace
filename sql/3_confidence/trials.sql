-- trials: the active cases that are scored, up to a cap per latent and side, drawn by hash.
-- grain:  run_id, latent_id, case_id
-- reads:  staging.activation_levels
-- params:
--   $run_id     VARCHAR the SAE run
--   $seed       BIGINT  seed of the draw
--   $active_cap BIGINT  most active cases of a latent on each side
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   case_id   BIGINT  0-based
--   user_id   INTEGER 1-based
--   side      VARCHAR construct (sets the threshold) or verify (tests it)
with firings as (
    select * from staging.activation_levels where run_id = $run_id and is_active
),

drawn as (
    select
        *,
        row_number() over (
            partition by latent_id, side
            order by md5_number_lower(concat_ws('|', $seed, 'trial', latent_id, case_id)), case_id
        ) as place
    from firings
)

select
    run_id,
    latent_id,
    case_id,
    user_id,
    side
from drawn
where place <= $active_cap
