"""freqbias: which frequencies do networks learn, and which do their perturbations live in?"""
