-- judge_reference: the scores of a judge under the column names of the reference's result file.
-- grain:  latent_id
-- reads:  confidence.judge_scores
-- params:
--   $run_id VARCHAR the SAE run
--   $judge  VARCHAR builtin, or the name of a language model
-- yields:
--   latent_id        INTEGER 0-based
--   recall           DOUBLE  0-1; NULL without an active verifying case, where the reference has 0
--   precision        DOUBLE  the specificity, 0-1
--   confidence_score DOUBLE  share of correct predictions, 0-1
select
    latent_id,
    recall,
    specificity as precision,
    confidence as confidence_score
from confidence.judge_scores
where run_id = $run_id and judge = $judge
order by latent_id
