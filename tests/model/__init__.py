"""The model of a store (`state`), what is done to both (`actions`), how they are compared (`checks`), a second process
(`other`), and the machine that plays them against each other (`machine`)."""
