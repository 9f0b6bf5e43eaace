-- judge_predictions: each verifying case with its true level and the level that a judge predicted.
-- grain:  run_id, judge, latent_id, case_id
-- reads:  raw.predictions, confidence.reference_cases, confidence.reference_predictions
-- params:
--   $run_id VARCHAR the SAE run
--   $judge  VARCHAR builtin, or the name of a language model
-- yields:
--   run_id          VARCHAR the SAE run
--   judge           VARCHAR builtin, or the name of a language model
--   latent_id       INTEGER 0-based; latents that this judge was asked about
--   case_id         BIGINT  0-based, a verifying case
--   is_active       BOOLEAN the truth: level 5 or more
--   level           INTEGER the latent's true level, 0 where it is silent
--   predicted_level BIGINT  0..10; NULL when the judge gave no readable answer
-- source: section 4.3 of the paper
with predictions as (
    select
        latent_id,
        case_id,
        predicted_level
    from confidence.reference_predictions
    where run_id = $run_id and $judge = 'builtin'
    union all
    select
        latent_id,
        case_id,
        predicted_level
    from raw.predictions
    where run_id = $run_id and judge = $judge
),

cases as (
    select * from confidence.reference_cases where run_id = $run_id and role = 'verify'
)

select
    $run_id as run_id,
    $judge as judge,
    cases.latent_id,
    cases.case_id,
    cases.is_active,
    cases.level,
    predictions.predicted_level
from cases
inner join predictions
    on cases.latent_id = predictions.latent_id and cases.case_id = predictions.case_id
