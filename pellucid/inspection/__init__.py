"""A network, a data set or code, explained: tables, feature maps, graphs, pages."""
