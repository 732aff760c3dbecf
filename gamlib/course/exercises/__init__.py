"""The exercises, a file for each notebook: what is right, and the mistakes that people make.

The mistakes come from bugs met in public code and in class, and from the mechanisms themselves; each is the small
function that makes it. Tests prove that each is refused, gets its own message, and that no message is given for
another's mistake or for a right solution. CONTRIBUTING.md says how to add an exercise.
"""

from gamlib.course.exercises import (
    ablations,
    bam,
    baseline,
    cbam,
    explaining,
    gam_channel,
    gam_numbers,
    gam_spatial,
    imagenet,
    own_model,
    se,
    training,
    triplet_and_branch,
)

FIRST_HALF = (baseline, se, bam, cbam, triplet_and_branch, gam_channel, gam_spatial, gam_numbers)
SECOND_HALF = (training, imagenet, ablations, explaining, own_model)
EXERCISES = {name: exercise for notebook in FIRST_HALF + SECOND_HALF for name, exercise in notebook.EXERCISES.items()}
