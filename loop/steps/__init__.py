"""One module per verb of the command line. Each step is load -> compute -> save; the nouns that
steps share stand in ``loop.project``.

    planned --score--> scored --select--> selected --push--> pushed --pull--> labeled
            --train--> trained --compare--> compared

Failure is not a state: a step that ends early leaves the round where it was, and running it again
continues. Round 0 labels the random holdout and ends at ``labeled``.
"""
