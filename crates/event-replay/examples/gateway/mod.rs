//! A payment gateway for the example. A real service has the client of another system here.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{Error, Write},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Charges each order once, however often the service asks. The key identifies the order.
#[derive(Debug, Default)]
pub struct Gateway {
    charged: Mutex<BTreeMap<String, u64>>,
    receipts: Mutex<Vec<String>>,
    /// The file with the key of each charge, for tests of several processes.
    journal: Option<PathBuf>,
}

/// The reason for which an order was not charged.
#[derive(Debug, thiserror::Error)]
pub enum Declined {
    /// The card was refused. No retry can help.
    #[error("the card was refused")]
    CardRefused,
    /// The gateway does not answer now.
    #[error("the gateway does not answer")]
    Unreachable,
    /// The gateway cannot write its journal.
    #[error("the gateway's journal cannot be written")]
    Journal(#[from] Error),
}

impl Declined {
    /// Returns whether a retry is useless.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::CardRefused)
    }
}

impl Gateway {
    /// Makes a gateway that writes the key of each charge to a file.
    #[allow(dead_code, reason = "tests look")]
    pub fn with_journal(journal: PathBuf) -> Self {
        Self { journal: Some(journal), ..Self::default() }
    }

    /// Charges an amount, once for each key. Returns the id of the payment.
    pub async fn charge(&self, user: &str, cents: u64, key: &str) -> Result<String, Declined> {
        // The network takes time.
        tokio::time::sleep(Duration::from_millis(5)).await;
        if let Some(journal) = &self.journal {
            let mut file = OpenOptions::new().create(true).append(true).open(journal)?;
            file.write_all(format!("{key}\n").as_bytes())?;
        }
        match user {
            "user-without-card" => return Err(Declined::CardRefused),
            "user-of-another-bank" => return Err(Declined::Unreachable),
            _ => {}
        }
        self.charged.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), cents);
        Ok(format!("payment-of-{key}"))
    }

    /// Sends a receipt.
    pub async fn send_receipt(&self, user: &str, cents: u64) {
        tokio::task::yield_now().await;
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{user}: {cents}"));
    }

    /// Returns the total amount in cents.
    #[allow(dead_code, reason = "tests look")]
    pub fn charged(&self) -> u64 {
        self.charged.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Returns the receipts that were sent.
    #[allow(dead_code, reason = "tests look")]
    pub fn receipts(&self) -> Vec<String> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
