"""Write the HTML report: input data, factors, training, quality and recommendations."""
