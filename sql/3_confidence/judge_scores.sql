-- judge_scores: the paper's recall, specificity and confidence of each latent under each judge.
-- grain:  run_id, judge, latent_id
-- reads:  confidence.judge_predictions
-- params:
--   $run_id VARCHAR the SAE run
-- yields:
--   run_id      VARCHAR the SAE run
--   judge       VARCHAR builtin, or the name of a language model
--   latent_id   INTEGER 0-based
--   recall      DOUBLE  active cases predicted above level 5, 0-1; NULL without any
--   specificity DOUBLE  inactive cases predicted at 5 or below, 0-1; the paper's "precision"
--   confidence  DOUBLE  correct predictions / all cases, 0-1
--   n_cases     BIGINT  verifying cases
--   n_unparsed  BIGINT  cases without a readable prediction; they count as not correct
-- source: section 4.3.3 of the paper
with predictions as (
    select
        *,
        coalesce(if(is_active, predicted_level > 5, predicted_level <= 5), false) as is_correct
    from confidence.judge_predictions
    where run_id = $run_id
)

select
    run_id,
    judge,
    latent_id,
    count(*) filter (where is_active and is_correct)
    / nullif(count(*) filter (where is_active), 0) as recall,
    count(*) filter (where not is_active and is_correct)
    / nullif(count(*) filter (where not is_active), 0) as specificity,
    count(*) filter (where is_correct) / count(*) as confidence,
    count(*) as n_cases,
    count(*) filter (where predicted_level is null) as n_unparsed
from predictions
group by run_id, judge, latent_id
