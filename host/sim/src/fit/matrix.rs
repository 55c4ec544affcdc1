//! Small symmetric systems of equations.

/// Rows of a symmetric matrix.
pub(super) type Matrix = Vec<Vec<f64>>;

/// The inverse of a positive definite matrix; `None` = it is not.
pub(super) fn inverse(of: &Matrix) -> Option<Matrix> {
    let n = of.len();
    let columns = (0..n).map(|k| {
        let unit: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i == k))).collect();
        solve(of, &unit)
    });
    columns.collect()
}

/// Solves `matrix * x = right` by Cholesky's factors; `None` = the matrix is not positive definite.
pub(super) fn solve(matrix: &Matrix, right: &[f64]) -> Option<Vec<f64>> {
    let n = matrix.len();
    let mut lower = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| lower[i][k] * lower[j][k]).sum();
            let rest = matrix[i][j] - known;
            if i == j {
                if rest.is_nan() || rest <= 0.0 {
                    return None;
                }
                lower[i][i] = rest.sqrt();
            } else {
                lower[i][j] = rest / lower[j][j];
            }
        }
    }
    let mut x = right.to_vec();
    for i in 0..n {
        let known: f64 = (0..i).map(|k| lower[i][k] * x[k]).sum();
        x[i] = (x[i] - known) / lower[i][i];
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| lower[k][i] * x[k]).sum();
        x[i] = (x[i] - known) / lower[i][i];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_solved_and_singular_ones_refused() {
        let matrix = vec![vec![4.0, 2.0], vec![2.0, 3.0]];
        let x = solve(&matrix, &[8.0, 8.0]).expect("a solution");
        assert!((x[0] - 1.0).abs() < 1e-12 && (x[1] - 2.0).abs() < 1e-12);
        let inverse = inverse(&matrix).expect("an inverse");
        assert!((inverse[0][0] - 0.375).abs() < 1e-12 && (inverse[1][0] + 0.25).abs() < 1e-12);
        assert_eq!(
            solve(&vec![vec![1.0, 1.0], vec![1.0, 1.0]], &[1.0, 1.0]),
            None
        );
    }
}
