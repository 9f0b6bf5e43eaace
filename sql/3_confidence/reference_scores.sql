-- reference_scores: the paper's confidence of each latent, kept beside ours for comparison.
-- grain:  run_id, latent_id
-- reads:  confidence.reference_predictions
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id                VARCHAR the SAE run
--   latent_id             INTEGER 0-based
--   reference_recall      DOUBLE  active cases predicted above level 5, 0-1; NULL without any
--   reference_specificity DOUBLE  inactive cases predicted at 5 or below, 0-1
--   reference_confidence  DOUBLE  correct predictions / all cases, 0-1
--   reference_cases       BIGINT  verifying cases
--   reference_unparsed    BIGINT  cases without a readable prediction; they count as not correct
-- source: section 4.3.3 of the paper; its "precision" is the specificity here
with predictions as (
    select
        *,
        coalesce(if(is_active, predicted_level > 5, predicted_level <= 5), false) as is_correct
    from confidence.reference_predictions
    where run_id = $run_id
)

select
    run_id,
    latent_id,
    count(*) filter (where is_active and is_correct)
    / nullif(count(*) filter (where is_active), 0) as reference_recall,
    count(*) filter (where not is_active and is_correct)
    / nullif(count(*) filter (where not is_active), 0) as reference_specificity,
    count(*) filter (where is_correct) / count(*) as reference_confidence,
    count(*) as reference_cases,
    count(*) filter (where predicted_level is null) as reference_unparsed
from predictions
group by run_id, latent_id
