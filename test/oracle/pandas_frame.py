"""What sentence-transformers needs of pandas, which is large and is not installed."""


class Frame:
    """The two calls that mine_hard_negatives makes: rows counted by the texts of a column."""

    def __init__(self, columns):
        self.columns = columns

    def groupby(self, column):
        self.keys = self.columns[column]
        return self

    def count(self):
        return self

    def to_dict(self):
        counts = {}
        for key in self.keys:
            counts[key] = counts.get(key, 0) + 1
        return {column: counts for column in self.columns}
