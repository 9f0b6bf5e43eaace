-- pool_actives: cases of the shared pool on which a latent is active, so they are not its inactive.
-- grain:  run_id, latent_id, case_id
-- reads:  staging.activation_levels, staging.case_pool
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id    VARCHAR the SAE run
--   latent_id INTEGER 0-based
--   case_id   BIGINT  0-based
--   user_id   INTEGER 1-based
--   side      VARCHAR construct or verify
with firings as (
    select * from staging.activation_levels where run_id = $run_id and is_active
),

pool as (
    select * from staging.case_pool where run_id = $run_id
)

select
    firings.run_id,
    firings.latent_id,
    firings.case_id,
    firings.user_id,
    firings.side
from firings
inner join pool on firings.case_id = pool.case_id
