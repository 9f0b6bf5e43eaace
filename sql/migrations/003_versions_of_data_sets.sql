-- 003_versions_of_data_sets: runs on content that has been replaced name that content.
-- Version 2 let other content take over the name of a data set and all of its runs; their views
-- then showed the new titles and users. The rows of the old content are gone.
update raw.runs as runs
set dataset = runs.dataset || '@' || left(runs.data_fingerprint, 8)
from raw.datasets as datasets
where
    datasets.dataset = runs.dataset
    and datasets.fingerprint <> runs.data_fingerprint;
