"""Why a model decides as it does on a clip: which places speak for a class, and which tokens draw from which."""
