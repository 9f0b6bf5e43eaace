-- user_concepts: the concepts that a user carries: how many of the user's cases have one active.
-- grain:  run_id, user_id, concept
-- reads:  raw.runs, raw.users, summaries.user_concepts, main.concepts
-- yields:
--   run_id       VARCHAR the SAE run
--   user_id      INTEGER 1-based
--   concept      VARCHAR leading tag of interpretable latents, kind:value
--   user         VARCHAR id of the user in the source files
--   label        VARCHAR label of the surest of these latents
--   confidence   DOUBLE  its balanced accuracy on held-out cases, 0-1
--   n_active     BIGINT  cases of the user on which at least one of the latents is active (level 5)
--   share_active DOUBLE  n_active by all cases of the user, 0-1
select
    carried.run_id,
    carried.user_id,
    carried.concept,
    users.source_user_id as user,
    concepts.label,
    concepts.confidence,
    carried.n_active,
    carried.share_active
from summaries.user_concepts as carried
inner join raw.runs as runs on carried.run_id = runs.run_id
left join raw.users as users
    on runs.dataset = users.dataset and carried.user_id = users.user_id
left join main.concepts as concepts
    on carried.run_id = concepts.run_id and carried.concept = concepts.concept
