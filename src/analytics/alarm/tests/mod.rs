mod clean;
mod corpus;
mod found;
mod nab;
mod rig;
mod table;
